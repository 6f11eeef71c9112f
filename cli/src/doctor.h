// Doctor: one report of everything that a run needs on this machine. Backends (ladder.h), readiness
// and agent profiles answer for themselves; machine_layers.h adds the rest.
#pragma once

#include <string>
#include <vector>

#include "ladder.h"
#include "machine_layers.h"
#include "runner_setup.h"
#include "writ/base/result.h"
#include "writ/protocol/json.h"

namespace writ::cli {

struct DoctorReport {
  bool usable = false;  // nothing that a run needs is missing
  std::vector<Rung> ladder;
  std::vector<Layer> layers;
};

Result<DoctorReport> Examine(const RunnerSetup& setup);

// Pure. `report` for people, terminal-safe, and for programs.
std::string RenderDoctor(const DoctorReport& report);
json::Value DoctorJson(const DoctorReport& report);

}  // namespace writ::cli
