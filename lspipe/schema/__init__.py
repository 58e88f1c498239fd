"""What flows between the stages: dtypes, units, nodata, bits and columns, and `check`s of them.

Arrays stay plain xarray and tables plain GeoDataFrames; what is promised about them is written here
once and checked where one stage hands over to the next.

    cube         (time, band, y, x) int16     physical value = code x step, -32768 = no data
    quality      (time, y, x)       uint8     bits of `Quality`, 0 = observed and clear
    probability  (time, y, x)       float32   0..1, NaN = not observed; on disk uint16 codes
    codes        (time, y, x)       uint16    probability x 1e4, 65535 = not observed
    state        (y, x)             uint8     `State`, 255 = undetermined
    inventory    GeoDataFrame                 one row per whole object, `INVENTORY_COLUMNS`
"""

from lspipe.schema.channels import (
    AFTER,
    BEFORE,
    CHANNELS,
    CUBE_NODATA,
    DATES,
    OPTICAL_BANDS,
    ORBITS,
    REFLECTANCE_SCALE,
    SCL_CLASSES,
    Channel,
    Source,
    bands_on,
    channel_of,
    check_cube,
    is_pair,
    source_of,
    split_channel,
    steps_of,
)
from lspipe.schema.columns import INVENTORY_COLUMNS, STATUSES, Column, check_inventory
from lspipe.schema.maps import (
    CODE_NODATA,
    CODE_SCALE,
    CRS_ATTRIBUTES,
    IGNORED,
    TRUE_COLOUR_STEP,
    TRUE_COLOUR_WHITE,
    Part,
    Quality,
    State,
    dequantise,
    grown,
    quantise,
    relative,
    threshold_code,
    to_codes,
)

__all__ = [
    "AFTER",
    "BEFORE",
    "CHANNELS",
    "CODE_NODATA",
    "CODE_SCALE",
    "CRS_ATTRIBUTES",
    "CUBE_NODATA",
    "DATES",
    "IGNORED",
    "INVENTORY_COLUMNS",
    "OPTICAL_BANDS",
    "ORBITS",
    "REFLECTANCE_SCALE",
    "SCL_CLASSES",
    "STATUSES",
    "TRUE_COLOUR_STEP",
    "TRUE_COLOUR_WHITE",
    "Channel",
    "Column",
    "Part",
    "Quality",
    "Source",
    "State",
    "bands_on",
    "channel_of",
    "check_cube",
    "check_inventory",
    "dequantise",
    "grown",
    "is_pair",
    "quantise",
    "relative",
    "source_of",
    "split_channel",
    "steps_of",
    "threshold_code",
    "to_codes",
]
