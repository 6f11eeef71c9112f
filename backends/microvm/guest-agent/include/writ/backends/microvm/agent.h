// Agent: the guest's end. Answers what a host asks (messages.h), one job per guest.
//
// It runs the job as a runner of its own would: with the sandbox tier's backend, inside the guest.
// So a job is held twice - by namespaces, seccomp, Landlock and cgroups of the guest's kernel, and
// by the machine. It trusts its host, which could change every byte of it anyway, once the token
// was right; a job of the guest that got hold of the channel could say no more than its host lets
// itself be told (session.h, tree_stream.h).
// One thread and the event loop, and one more while a job is prepared and runs.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "writ/backends/microvm/messages.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

// What the kernel has kept of files: a clone would carry it along. What warm-up commands read is
// what they were run for.
enum class Caches { kDropped, kKept };

struct AgentOptions {
  // One of them: a stream that is there for good, or a socket that takes one connection after the
  // other. Both outlive a snapshot, a connection does not.
  UniqueFd transport;
  UniqueFd listener;
  std::string host_token;   // what the host shows
  std::string guest_token;  // what we show
  std::string launcher;     // writ-launch
  std::string inputs;       // directory: workspace/ is the base tree, 0/, 1/, ... read-only trees
  std::string base;         // the same of the base, for a job that has one
  std::string scratch;      // empty directory on a writable file system with trusted.* attributes
  std::uint64_t job_memory = 0;  // what a job gets that asks for no limit; 0: all
  // Of an image of a recipe's steps: the job is held by the machine alone (src/root_job.h).
  std::optional<RootJob> root_job;
  std::string image;  // with it: directory with the image's root, as it is without layers
  // Takes what came for this guest alone. A test that runs on a host must not set its clock.
  std::function<Result<IdentityTaken>(const Identity&)> take_identity;
  // Around a pause of the machine: the job is held, the clock set, and the job goes on. May be
  // empty, as the next.
  std::function<Status()> hold_job;
  std::function<Status(std::uint64_t realtime_ns)> set_clock;
  std::function<void()> release_job;
  // Before the first job: finds the inputs, whose drive may have got another file until then. May
  // be empty, as the next.
  std::function<Status(bool on_base)> mount_inputs;
  std::function<void(Caches)> quiesce;  // before a snapshot
};

// Until the channel is at its end, but for the end that a quiesce asked for. Why it is.
Result<std::string> RunAgent(AgentOptions options);

// CLOCK_REALTIME of the machine that this runs on.
Status SetClockOfMachine(std::uint64_t realtime_ns);
std::uint64_t ClockOfMachine();
// Entropy with a reseed, clock, host name, machine id: of the machine that this runs on.
Result<IdentityTaken> TakeIdentity(const Identity& identity);
// As this machine sees itself. `scratch`: where the writable layer is.
Metrics ReadMetrics(const std::string& scratch);

}  // namespace writ::backends::microvm
