// One screen that answers, from a bundle alone: what moved, why, who approved, what saw it
// (runtime, model, secrets, hosts), and how to inspect or reproduce it.
#pragma once

#include <string>

#include "writ/protocol/bundle.h"
#include "writ/protocol/json.h"

namespace writ::cli {

// `bundle` is a parsed bundle, `report` its verification. Text of it is terminal-safe.
std::string RenderReceipt(const json::Value& bundle, const protocol::VerifyReport& report);
// The same answers as JSON (for --json).
json::Value ReceiptAnswers(const json::Value& bundle, const protocol::VerifyReport& report);

}  // namespace writ::cli
