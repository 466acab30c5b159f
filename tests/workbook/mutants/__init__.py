"""Answers to the exercises that were written without looking at the checks: wrong ones that must be rejected, right ones that must not."""


class Answers:
    """Collects the answers of one exercise: `wrong` as (name, piece, words the message must hold, a regex), `right` as (name, piece)."""

    def __init__(self, id: str):
        self.id, self.wrong, self.right = id, [], []

    def mutant(self, words: str = ""):
        """Decorator of a wrong answer. For a pair of functions, decorate a function that returns it and call `pair` instead."""

        def keep(piece):
            self.wrong.append((piece.__name__, piece, words))
            return piece

        return keep

    def alternative(self, piece):
        """Decorator of a right answer."""
        self.right.append((piece.__name__, piece))
        return piece
