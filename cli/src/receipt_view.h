// One screen that answers, from a bundle alone: what moved, why, who approved, what saw it
// (runtime, model, secrets, hosts), and how to inspect or reproduce it.
#pragma once

#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/json.h"

namespace writ::cli {

// How the reader goes on from here: what the commands on the screen begin and end with, and where
// the public keys lie that a verifier pins (words to replace where this machine has no such file).
struct ReceiptCommands {
  std::string writ = "writ";  // with --dir where one was given
  std::string access{};       // " --plane URL --token-file F" for a far plane
  std::string plane_key = "PLANE.pub.pem";
  std::string org_key{};  // empty: not known here
};
// `bundle` is a parsed bundle, `report` its verification. Text of it is terminal-safe.
std::string RenderReceipt(const json::Value& bundle, const protocol::VerifyReport& report,
                          const ReceiptCommands& commands);
// Whether `writ pull` has something to bring: the run's own change left its runner. Of a runner
// that keeps none apart from what it was given (another plane's), the whole output counts.
bool HasChangeToPull(const json::Value& receipt);
// A run's failure as its runner recorded it: `sentence`, with the code and the mend of the receipt
// where that has them (failureCode, failureMend). Text of it is terminal-safe.
Error RecordedFailure(const json::Value& receipt, std::string_view sentence);
// The same answers as JSON (for --json).
json::Value ReceiptAnswers(const json::Value& bundle, const protocol::VerifyReport& report);

}  // namespace writ::cli
