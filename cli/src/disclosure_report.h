// One screen that says, before anything moves, what a run would move and be given: which history,
// changes and files with their sizes, what is kept back and why, secrets, hosts, limits, what might
// leave the runner again, and what policy says to it (`writ run --dry-run`).
#pragma once

#include <string>

#include "writ/protocol/json.h"
#include "writ/workspace/capture.h"

namespace writ::cli {

// `report` is the plane's answer to a dry run; `default_tier` that of the runner in this process,
// empty where another one would claim the run. Terminal-safe.
std::string RenderDisclosure(const json::Value& report, const workspace::Captured& captured,
                             const std::string& default_tier);
// The plane's answer with what only this side knows: `wouldUpload`, `findings` and, where it is
// known, `defaultIsolation` (for --json).
json::Value DisclosureJson(json::Value report, const workspace::Captured& captured,
                           const std::string& default_tier);

// "1 file", "3 files".
std::string Counted(std::size_t count, std::string_view one, std::string_view many);

}  // namespace writ::cli
