// ServeRunner: a started engine until it has ended - signals, reload, and what a service manager is
// told.
//
//   SIGTERM, SIGINT   drain: no new claim, runs in work are finished; a second one cancels them
//   SIGQUIT           cancels at once, with receipts
//   SIGHUP            reads the configuration again
#pragma once

#include <functional>

#include "exit_code.h"
#include "signals.h"
#include "writ/base/result.h"
#include "writ/base/service_manager.h"
#include "writ/runner/engine.h"

namespace writ::cli {

struct Context;

// Reads file, environment and flags again.
using ReadAgain = std::function<Result<runner::RunnerConfig>()>;

// Engine::Reload and its one log line; nothing changes where the new configuration is refused.
void ReloadRunner(runner::Engine& engine, const ReadAgain& read_again);

// kDone: drained, idle or all runs done; kRunCancelled: runs in work were cancelled by a signal. An
// error: what made the engine leave by itself.
Result<ExitCode> ServeRunner(runner::Engine& engine, StopSignals& signals, ServiceManager& manager,
                             const Context& context, const ReadAgain& read_again);

}  // namespace writ::cli
