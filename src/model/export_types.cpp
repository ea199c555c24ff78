#include "model/export_types.h"

namespace ebb {
EBB_JSON_INSTANTIATE(MeasuredPhases)
EBB_JSON_INSTANTIATE(MoveLimits)
EBB_JSON_INSTANTIATE(CellView)
EBB_JSON_INSTANTIATE(ExportEnd)
}  // namespace ebb
