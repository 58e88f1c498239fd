"""Two maps -> what happened between their dates, and whole objects with their measures.

    spec         when a pixel counts as new; the section `change:`
    grids        a map as it was given -> the same on its grid, its CRS found
    registration pictures of two dates -> the shift between them
    moving       a map of codes and a shift -> the map on the ground of the other date
    compare      two maps -> the state of each pixel
    classified   a map or a change -> kinds of pixels on a grid
    objects      codes and states -> which pixels make an object, of which kind
    components   connected components, joined over block borders
    needed       one date, and what is known of the other -> where that one matters to new objects
    outlines     pixels of an object -> its outline and its measures
    inventory    a map or a change -> a table of whole objects
    neighbours   labelled objects -> the pixels in them, around them and beside their edges
    evidence     objects and what was stored of both dates -> what helps to judge each object
    joining      inventories of tiles -> one list, each landslide once
    flag_spec    which columns of yes or no a list has; the section `flags:`
    flags        a list with its evidence -> why an object may be no landslide
    flag_layers  files of a person's own -> the share of each object inside of them
    ranking      a list with its flags -> the order in which to look at it
    unobserved   quality bits -> polygons of what was not observed
    coverage     area, tiles and gaps -> the share that was observed
    decisions    a file in which a person reviewed a list -> what was decided
    carrying     reviewed objects and a new list -> which object each decision is about

Numbers in, numbers and tables out; `decisions.py` and `flag_layers.py` read files, and nothing
writes one.
"""
