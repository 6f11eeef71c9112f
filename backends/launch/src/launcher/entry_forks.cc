#include "entry_forks.h"

#include <string.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

#include "job_setup.h"
#include "terminal_relay.h"
#include "writ/backends/launch/entry_request.h"
#include "writ/base/file.h"

namespace writ::backends::launch {
namespace {

constexpr std::uint64_t kMaxRequestBytes = 1u << 20;

}  // namespace

void EntryForks::Report(int report, const char* stage, int err) {
  const std::string text = kFailureReport + std::to_string(err) + " " + stage;
  (void)SendWithFds(report, text, {}).has_value();
}

void EntryForks::Fork(std::uint64_t id, std::vector<UniqueFd> fds, int ruleset) {
  if (fds.empty()) return;
  const int report = fds.front().get();
  if (fds.size() < 2 || running_.contains(id)) return Report(report, "request", EINVAL);
  auto bytes = ReadAll(fds[1].get(), kMaxRequestBytes);
  auto request = bytes ? DecodeEntryRequest(*bytes) : std::move(bytes).error();
  const bool own_kernel =
      plan_.namespaces && plan_.namespaces->container_kernel == ContainerKernel::kOwn;
  const bool relayed = request && request->terminal && own_kernel;
  if (!request || fds.size() != (request->terminal && !relayed ? 2u : 5u))
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
  Terminal terminal;
  Pipe over;
  if (relayed) {
    auto opened = OpenTerminal(kOwnTerminals, *request->terminal);
    auto pipe = MakePipe();
    if (!opened || !pipe)
      return Report(report, "terminal", opened ? EMFILE : opened.error().sys_errno);
    terminal = std::move(opened).value();
    over = std::move(pipe).value();
    start.slave = terminal.slave.get();
  }
  if (request->kind != EntryRequest::Kind::kCommand) start.copy = &*request;
  UniqueFd child_report = std::move(fds.front());
  auto own = child_report.Duplicate();
  auto pid = ForkProcess(plan_, start, ruleset, std::move(child_report));
  if (pid) {
    Running& running = running_[id];
    running.pid = *pid;
    if (relayed) {
      auto relay = StartTerminalRelay(
          terminal, {fds[2].get(), fds[3].get(), fds[4].get(), over.read_end.get()}, *pid);
      if (relay) running.relay = *relay;
      if (!relay) ::kill(*pid, SIGKILL);
      running.over = std::move(over.write_end);
    }
  } else if (own) {
    Report(own->get(), "fork", pid.error().sys_errno);
  }
  // They may carry the proxy's token.
  for (std::string& entry : request->environment) ::explicit_bzero(entry.data(), entry.size());
  ::explicit_bzero(bytes->data(), bytes->size());
}

void EntryForks::Signal(std::uint64_t id, int signal) const {
  auto at = running_.find(id);
  if (at == running_.end() || at->second.pid < 0) return;
  // Before it is the leader of a session it has no group of that number.
  if (::kill(-at->second.pid, signal) != 0) ::kill(at->second.pid, signal);
}

std::optional<EntryForks::Ended> EntryForks::Reaped(pid_t pid, int status) {
  for (auto at = running_.begin(); at != running_.end(); ++at) {
    Running& running = at->second;
    if (running.pid != pid && running.relay != pid) continue;
    if (running.pid == pid) {
      running.pid = -1;
      running.status = status;
      running.over.reset();
    } else {
      running.relay = -1;
    }
    if (running.pid >= 0 || running.relay >= 0) return std::nullopt;
    const Ended ended{at->first, running.status};
    running_.erase(at);
    return ended;
  }
  return std::nullopt;
}

}  // namespace writ::backends::launch
