#include <fcntl.h>
#include <limits.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "writ/backends/microvm/agent.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kNanos = 1'000'000'000;
constexpr std::size_t kLeastEntropy = 32;
constexpr int kCountedBits = 256;
constexpr std::size_t kMachineIdDigits = 32;

// The pool gets it, counted, and the generator is made anew from the pool at once.
Status Reseed(const std::string& entropy) {
  UniqueFd random(::open("/dev/urandom", O_RDWR | O_CLOEXEC));
  if (!random) return SysError(errno, "agent.entropy", "cannot open the random device");
  std::vector<int> words((sizeof(rand_pool_info) + entropy.size()) / sizeof(int) + 1);
  auto* info = reinterpret_cast<rand_pool_info*>(words.data());
  info->entropy_count = kCountedBits;
  info->buf_size = static_cast<int>(entropy.size());
  std::memcpy(words.data() + sizeof(rand_pool_info) / sizeof(int), entropy.data(), entropy.size());
  if (::ioctl(random.get(), RNDADDENTROPY, info) != 0 ||
      ::ioctl(random.get(), RNDRESEEDCRNG, nullptr) != 0)
    return SysError(errno, "agent.entropy", "the kernel did not take the entropy");
  ::explicit_bzero(words.data(), words.size() * sizeof(int));
  return {};
}

}  // namespace

Status SetClockOfMachine(std::uint64_t realtime_ns) {
  timespec time{};
  time.tv_sec = static_cast<time_t>(realtime_ns / kNanos);
  time.tv_nsec = static_cast<long>(realtime_ns % kNanos);
  if (::clock_settime(CLOCK_REALTIME, &time) != 0)
    return SysError(errno, "agent.clock", "cannot set the clock");
  return {};
}

std::uint64_t ClockOfMachine() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * kNanos +
         static_cast<std::uint64_t>(time.tv_nsec);
}

Result<IdentityTaken> TakeIdentity(const Identity& identity) {
  if (identity.entropy.size() < kLeastEntropy || identity.host_name.empty() ||
      identity.machine_id.size() != kMachineIdDigits)
    return Error{ErrorKind::kInvalid, "agent.identity", "the identity is not whole"};
  WRIT_TRY(Reseed(identity.entropy));
  WRIT_TRY(SetClockOfMachine(identity.realtime_ns));
  if (::sethostname(identity.host_name.data(), identity.host_name.size()) != 0)
    return SysError(errno, "agent.host_name", "cannot set the host name");
  WRIT_ASSIGN(UniqueFd etc, OpenDirectory("/etc"));
  WRIT_TRY(WriteFileAtomic(etc.get(), "machine-id", identity.machine_id + "\n", 0444));
  IdentityTaken taken;
  taken.reseeded = true;
  std::array<char, HOST_NAME_MAX + 1> name{};
  ::gethostname(name.data(), name.size() - 1);
  taken.host_name = name.data();
  WRIT_ASSIGN(taken.machine_id, ReadFile("/etc/machine-id", kMachineIdDigits + 1));
  taken.machine_id.pop_back();
  taken.realtime_ns = ClockOfMachine();
  return taken;
}

}  // namespace writ::backends::microvm
