"""One run: from a plan to the list of landslides.

    plan/       a workflow -> everything that decides a pixel
    store/      the run directory
    prepare     a workflow and a run directory -> what is decided and what is done already
    pipeline    a run from end to end, in the order data flow

Only what stands here talks to `distributed` and to Zarr.
"""
