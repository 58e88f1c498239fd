"""Two maps -> what happened between their dates, and whole objects with their measures.

    compare      two maps -> the state of each pixel; the section `change:`
    classified   a map or a change -> kinds of pixels on a grid
    objects      codes and states -> which pixels make an object, of which kind
    components   connected components, joined over block borders
    outlines     pixels of an object -> its outline and its measures
    inventory    a map or a change -> a table of whole objects
    joining      inventories of tiles -> one list, each landslide once
    unobserved   quality bits -> polygons of what was not observed
    coverage     area, tiles and gaps -> the share that was observed

Numbers in, numbers and tables out: nothing here reads or writes a file.
"""
