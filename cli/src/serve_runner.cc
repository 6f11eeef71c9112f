#include "serve_runner.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "context.h"
#include "writ/base/log.h"

namespace writ::cli {
namespace {

std::string Joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

bool Readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

std::string StatusLine(const runner::Engine& engine) {
  return "serving, " + std::to_string(engine.ActiveRuns()) + " runs in work";
}

}  // namespace

void ReloadRunner(runner::Engine& engine, const ReadAgain& read_again) {
  auto next = read_again();
  auto reloaded = next ? engine.Reload(*next) : Result<runner::Engine::Reloaded>(next.error());
  if (!reloaded) {
    log::Error("runner.reload_refused",
               "the configuration cannot be taken; the one from before stays",
               {{"code", reloaded.error().code},
                {"error", reloaded.error().ToString()},
                {"hint", reloaded.error().hint}});
    return;
  }
  if (reloaded->kept.empty())
    log::Info("runner.reloaded", "the configuration was read again; runs to come have it",
              {{"changed", Joined(reloaded->applied)}});
  else
    log::Warn("runner.reloaded",
              "the configuration was read again; what needs a restart keeps its old value",
              {{"changed", Joined(reloaded->applied)}, {"kept", Joined(reloaded->kept)}});
}

Result<ExitCode> ServeRunner(runner::Engine& engine, StopSignals& signals, ServiceManager& manager,
                             const Context& context, const ReadAgain& read_again) {
  using std::chrono::milliseconds;
  constexpr milliseconds kLook{5'000};
  const auto wanted = manager.watchdog();
  const milliseconds pace = wanted
                                ? std::clamp(std::chrono::duration_cast<milliseconds>(*wanted) / 3,
                                             milliseconds(50), kLook)
                                : kLook;
  ExitCode code = kDone;
  bool draining = false;
  manager.Ready(StatusLine(engine));
  for (;;) {
    const int signal = signals.Wait(static_cast<int>(pace.count()), engine.ended_fd());
    if (signal == SIGHUP) {
      manager.Reloading();
      ReloadRunner(engine, read_again);
      manager.Ready(StatusLine(engine));
      continue;
    }
    if (signal != 0) {
      const bool cancel = draining || signal == SIGQUIT;
      manager.Stopping(cancel ? "cancelling runs" : "draining");
      context.Note(cancel ? "cancelling what runs" : "draining");
      if (cancel && engine.ActiveRuns() > 0) code = kRunCancelled;
      draining = true;
      engine.RequestStop(cancel ? runner::StopMode::kCancelRuns : runner::StopMode::kDrain);
      continue;
    }
    if (auto stuck = engine.Stuck()) {
      log::Error("runner.stuck", "a loop of this runner does not turn any more",
                 {{"loop", *stuck}});
    } else {
      manager.Alive();
      if (!draining) manager.Status(StatusLine(engine));
    }
    if (Readable(engine.ended_fd())) break;
  }
  engine.Wait();
  if (!draining) manager.Stopping("done");
  if (auto trouble = engine.Trouble()) return std::move(*trouble);
  return code;
}

}  // namespace writ::cli
