"""Pixels of a block -> the probability of a landslide; the section `inference:` of a workflow.

    settings     what a workflow may set, and the settings of a run; no torch
    presets      workflow, preset and model item -> one resolved `Setting`
    windows      integer geometry: the lattice of windows, blocks, halos, coverage
    dihedral     the eight symmetries of a square, and their inverses
    observed     pixels and a mask -> which were observed, and their range
    inputs       pixels of a block -> batches of windows in model units
    cut_and_add  windows cut out of an image, and added up
    block        `run_block`: one block in memory -> probability
    ensemble     several networks on one block -> their mean
    familiarity  pixels of a block compared with the training data
    deviation    how far views and networks lie apart
    temperature  probabilities of a network, made more or less sure
    reference    a reference to a model, which is sent to workers: path and hashes
    runtimes/    what executes a network
    soundness    a model item -> the faults of its network
    detect       `lspipe.detect`: a cube and a model -> a map

Nothing is imported here: a workflow can be checked without the seconds that torch takes.
"""
