// The operations part of runner.json: hooks, artifacts, metrics.
#pragma once

#include "writ/protocol/reader.h"
#include "writ/runner/config.h"

namespace writ::runner {

void ReadOperations(json::ObjectReader& reader, RunnerConfig& config);
void WriteOperations(const RunnerConfig& config, json::Object& to);
Status CheckOperations(const RunnerConfig& config);

}  // namespace writ::runner
