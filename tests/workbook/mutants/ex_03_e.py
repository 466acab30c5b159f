"""Answers to 03-e, the logits of the contrast: query, key (B, D), queue (D, K) of unit columns -> (B, 1 + K)."""

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("03-e")
mutant = ANSWERS.mutant


def unit(x):
    return F.normalize(x, dim=1)


@mutant("normal|unit|length")
def nothing_normalised(query, key, queue, temperature=0.07):
    key = key.detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant("normal|unit|length")
def query_not_normalised(query, key, queue, temperature=0.07):
    key = unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant("normal|unit|length")
def key_not_normalised(query, key, queue, temperature=0.07):
    query, key = unit(query), key.detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant("normal|unit|length|row|axis|dim")
def normalised_over_the_batch(query, key, queue, temperature=0.07):
    query, key = F.normalize(query, dim=0), F.normalize(key, dim=0).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant("normal|unit|length")
def normalised_as_a_whole(query, key, queue, temperature=0.07):
    query, key = query / query.norm(), (key / key.norm()).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant()
def normalised_by_the_sum(query, key, queue, temperature=0.07):
    query, key = F.normalize(query, p=1, dim=1), F.normalize(key, p=1, dim=1).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant()
def normalised_by_the_square(query, key, queue, temperature=0.07):
    query, key = query / query.square().sum(1, keepdim=True), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant()
def query_divided_by_the_length_of_the_key(query, key, queue, temperature=0.07):
    """Right where both are of the same length."""
    length = key.detach().norm(dim=1, keepdim=True)
    query, key = query / length, key.detach() / length
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant()
def own_pair_not_normalised(query, key, queue, temperature=0.07):
    own = (query * key.detach()).sum(1, keepdim=True)
    return torch.cat([own, unit(query) @ queue], dim=1) / temperature


@mutant("first|positive|column|last")
def positive_pair_last(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([query @ queue, (query * key).sum(1, keepdim=True)], dim=1) / temperature


@mutant("positive|shape|column|own")
def keys_of_the_whole_batch(query, key, queue, temperature=0.07):
    """Right for one image."""
    query, key = unit(query), unit(key).detach()
    return torch.cat([query @ key.T, query @ queue], dim=1) / temperature


@mutant("positive|shape|own|key")
def key_of_the_first_image(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([query @ key[:1].T, query @ queue], dim=1) / temperature


@mutant("positive|shape|column")
def queue_only(query, key, queue, temperature=0.07):
    return unit(query) @ queue / temperature


@mutant()
def oldest_key_replaced(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), (query @ queue)[:, 1:]], dim=1) / temperature


@mutant()
def key_against_the_queue(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), key @ queue], dim=1) / temperature


@mutant("temperature|divi")
def no_temperature(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1)


@mutant("temperature|divi")
def multiplied_by_the_temperature(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) * temperature


@mutant("temperature|divi")
def queue_alone_divided(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue / temperature], dim=1)


@mutant("temperature|divi|all")
def positive_pair_alone_divided(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True) / temperature, query @ queue], dim=1)


@mutant("temperature")
def always_seven_hundredths(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / 0.07


@mutant("temperature|0\\.07|default")
def another_default(query, key, queue, temperature=0.1):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant()
def no_default(query, key, queue, temperature):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant()
def root_of_the_width_too(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature / query.shape[1] ** 0.5


@mutant("softmax|logit")
def softmax_included(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return (torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature).softmax(dim=1)


@mutant("softmax|logit|loss")
def log_softmax_included(query, key, queue, temperature=0.07):
    """The cross-entropy does not see it."""
    query, key = unit(query), unit(key).detach()
    return F.log_softmax(torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature, dim=1)


@mutant("shape|loss|logit")
def the_loss_itself(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))


@mutant()
def negative_similarities_cut_off(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1).clamp_min(0) / temperature


@mutant()
def distances_instead(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    own = (query - key).norm(dim=1, keepdim=True)
    return -torch.cat([own, torch.cdist(query, queue.T)], dim=1) / temperature


@mutant()
def queue_as_rows(query, key, queue, temperature=0.07):
    """Runs where there are as many keys as dimensions."""
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], dim=1) / temperature


@mutant()
def own_pair_as_a_column_of_squeezed(query, key, queue, temperature=0.07):
    """Runs for one image alone."""
    query, key = unit(query), unit(key).detach()
    own = (query @ key.T).reshape(1, 1)
    return torch.cat([own, query @ queue], dim=1) / temperature


@mutant("gradient|detach|key")
def gradient_to_the_key(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key)
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant("gradient|detach|key")
def direction_of_the_key_detached_only(query, key, queue, temperature=0.07):
    query, key = unit(query), key.detach() / key.norm(dim=1, keepdim=True)
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant("gradient|query")
def nobody_gets_a_gradient(query, key, queue, temperature=0.07):
    with torch.no_grad():
        query, key = unit(query), unit(key)
        return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant("gradient|query")
def query_detached_before_the_queue(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query.detach() @ queue], dim=1) / temperature


@mutant("gradient|query")
def length_of_the_query_detached(query, key, queue, temperature=0.07):
    """Right numbers, another gradient: not along the sphere."""
    query, key = query / query.detach().norm(dim=1, keepdim=True), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant()
def key_detached_in_place(query, key, queue, temperature=0.07):
    """The caller's own key has lost its graph."""
    key.detach_()
    query, key = unit(query), unit(key)
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant("in.place")
def query_normalised_in_place(query, key, queue, temperature=0.07):
    query.data /= query.data.norm(dim=1, keepdim=True)
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


@mutant("in.place|queue")
def keys_put_into_the_queue(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.clone()], dim=1) / temperature
    queue[:, : len(key)] = key.T[:, : queue.shape[1]]
    return logits


@mutant()
def half_precision(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return (torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature).bfloat16().float()


@mutant("tuple|tensor")
def with_labels(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature
    return logits, torch.zeros(len(query), dtype=torch.long)


@mutant("queue|column|unit")
def rows_of_the_queue_normalised(query, key, queue, temperature=0.07):
    query, key = unit(query), unit(key).detach()
    return torch.cat([(query * key).sum(1, keepdim=True), query @ F.normalize(queue, dim=1)], dim=1) / temperature
