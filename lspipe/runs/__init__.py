"""One run: from a plan to the list of landslides.

    plan/       a workflow -> everything that decides a pixel
    store/      the run directory
    prepare     a workflow and a run directory -> the plan, and the blocks that are done
    pipeline    a run from end to end, in the order data flow
    stream      blocks to do -> blocks done, by tasks of `steps` and `worker`
    listing     stored maps -> change, inventory, unobserved, files
    review      what a person decided about the list, kept and carried
    opened      a run directory -> tables and lazy arrays

Only what stands here talks to `distributed` and to Zarr.
"""
