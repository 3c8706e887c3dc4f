"""Python runs this as it starts wherever this folder is on PYTHONPATH: so are processes under test given their faults."""

import faults
import offline

faults.install()
offline.install()
