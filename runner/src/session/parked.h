// Parked bundles: receipts that the plane did not take, whole and signed, in
// <state_dir>/parked/RUN.bundle.json (0600).
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/protocol/json.h"
#include "writ/protocol/names.h"

namespace writ::runner {

Status ParkBundle(const std::string& state_dir, const protocol::RunId& run, json::Value bundle);

}  // namespace writ::runner
