#include "entry_forks.h"

#include <string.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

#include "job_setup.h"
#include "writ/backends/launch/entry_request.h"
#include "writ/base/file.h"

namespace writ::backends::launch {
namespace {

constexpr std::uint64_t kMaxRequestBytes = 1u << 20;

void Report(int report, const char* stage, int err) {
  const std::string text = kFailureReport + std::to_string(err) + " " + stage;
  (void)SendWithFds(report, text, {}).has_value();
}

}  // namespace

void EntryForks::Fork(std::uint64_t id, std::vector<UniqueFd> fds, int ruleset) {
  if (fds.empty()) return;
  const int report = fds.front().get();
  if (fds.size() < 2 || running_.contains(id)) return Report(report, "request", EINVAL);
  auto bytes = ReadAll(fds[1].get(), kMaxRequestBytes);
  auto request = bytes ? DecodeEntryRequest(*bytes) : std::move(bytes).error();
  if (!request || fds.size() != (request->terminal ? 2u : 5u))
    return Report(report, "request", EINVAL);
  ProcessStart start{.argv = request->argv,
                     .env = request->environment,
                     .cwd = request->cwd,
                     .terminal = request->terminal};
  if (!request->terminal) {
    start.in = fds[2].get();
    start.out = fds[3].get();
    start.err = fds[4].get();
  }
  if (request->kind != EntryRequest::Kind::kCommand) start.copy = &*request;
  UniqueFd child_report = std::move(fds.front());
  auto own = child_report.Duplicate();
  auto pid = ForkProcess(plan_, start, ruleset, std::move(child_report));
  if (pid) {
    running_.emplace(id, *pid);
  } else if (own) {
    Report(own->get(), "fork", pid.error().sys_errno);
  }
  // They may carry the proxy's token.
  for (std::string& entry : request->environment) ::explicit_bzero(entry.data(), entry.size());
  ::explicit_bzero(bytes->data(), bytes->size());
}

void EntryForks::Signal(std::uint64_t id, int signal) const {
  auto at = running_.find(id);
  if (at == running_.end()) return;
  // Before it is the leader of a session it has no group of that number.
  if (::kill(-at->second, signal) != 0) ::kill(at->second, signal);
}

std::optional<std::uint64_t> EntryForks::Reaped(pid_t pid) {
  for (auto at = running_.begin(); at != running_.end(); ++at) {
    if (at->second != pid) continue;
    const std::uint64_t id = at->first;
    running_.erase(at);
    return id;
  }
  return std::nullopt;
}

}  // namespace writ::backends::launch
