"""The task-interference lab: do two restoration tasks pull one model in different directions, and what helps against it?

`gradients` measures the pull layer by layer, `spectra` what each task asks of the frequencies, `remedies` holds cures from the
literature behind one interface, `harness` trains all of them at equal budget and keeps the table.
"""
