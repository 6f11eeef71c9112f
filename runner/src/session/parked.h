// Parked bundles: receipts that the plane did not take, whole and signed, in
// <state_dir>/parked/RUN.bundle.json (0600), and why, in RUN.why.json beside it.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/protocol/json.h"
#include "writ/protocol/names.h"

namespace writ::runner {

struct ParkReason {
  std::string code;     // of the refusal
  std::string message;  // one sentence
  std::string late;     // "stored", the code of the refusal, or empty: not tried
};

Status ParkBundle(const std::string& state_dir, const protocol::RunId& run, json::Value bundle,
                  const ParkReason& why = {});

}  // namespace writ::runner
