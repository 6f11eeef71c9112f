// One attempt each: a function that tries one way out and says whether it got through.
//
// Targets come in the environment, as the job of a real run would find them by looking around.
#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace writ::hostile {

enum class Result {
  kGotThrough = 0,
  kRefused = 1,
  kCannotTry = 2,   // this kernel or host lacks what the attempt needs
  kUnanswered = 4,  // it did not get through, and was left waiting instead of refused (L25)
};

struct Attack {
  std::string_view name;
  Result (*run)();
};

const std::vector<Attack>& NetworkAttacks();
bool LeftWaiting();  // a connection of theirs was neither made nor refused
const std::vector<Attack>& SocketAttacks();
const std::vector<Attack>& ServiceAttacks();
const std::vector<Attack>& ProcessAttacks();
const std::vector<Attack>& SchedulingAttacks();
const std::vector<Attack>& KernelAttacks();
const std::vector<Attack>& SurfaceAttacks();
const std::vector<Attack>& MountAttacks();
const std::vector<Attack>& FileAttacks();
const std::vector<Attack>& HostAttacks();
const std::vector<Attack>& LeftoverAttacks();

std::string Target(const char* variable);  // "" where it is not set
int TargetNumber(const char* variable);    // 0 where it is not set
pid_t Victim();                            // VICTIM: a pid, or "parent" for the supervisor
sockaddr_in Ipv4(const char* address, int port);
Result From(bool got_through);

// Of a call with arguments that do no harm: whatever the kernel says of them, it took the call up.
// Only EPERM, EACCES and ENOSYS are a refusal (ENOSYS without a guard: this kernel lacks the call).
Result Reached(long result);

// A user namespace of our own, as its root, and the others of `flags`.
bool UnshareAsRoot(int flags);

// A file of the host. Where HOST_ROOT is set, a file of our own in its place, made when asked for:
// what the attempt does with its guard off, without changing the host.
std::string HostPath(const std::string& path);
// From here on HostPath prints what it is asked for, and there is no such file.
void ListHostPaths();

}  // namespace writ::hostile
