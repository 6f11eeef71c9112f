#include "kvm_probe.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>

#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {
namespace {

constexpr int kApiVersion = 12;
constexpr std::size_t kMemory = 0x1000;
constexpr std::uint64_t kCodeAt = 0x1000;
// Of this process's own time, so that a busy host is no slow one.
constexpr suseconds_t kDeadlineMicros = 60'000;
// mov ecx, 5000000; dec ecx; jnz; hlt - some milliseconds on a processor, seconds where each
// instruction is emulated.
constexpr unsigned char kCode[] = {0x66, 0xb9, 0x40, 0x4b, 0x4c, 0x00,
                                   0x66, 0x49, 0x75, 0xfc, 0xf4};

std::string Errno(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);
}

void OnDeadline(int) {}

std::string TryGuestCode() {
  UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) return Errno("/dev/kvm cannot be opened");
  if (::ioctl(kvm.get(), KVM_GET_API_VERSION, 0) != kApiVersion)
    return "/dev/kvm has another version";
  UniqueFd machine(::ioctl(kvm.get(), KVM_CREATE_VM, 0));
  if (!machine) return Errno("no machine can be created");
  void* memory =
      ::mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Errno("no memory for a machine");
  std::memcpy(memory, kCode, sizeof kCode);
  kvm_userspace_memory_region region{};
  region.guest_phys_addr = kCodeAt;
  region.memory_size = kMemory;
  region.userspace_addr = reinterpret_cast<std::uint64_t>(memory);
  UniqueFd cpu(::ioctl(machine.get(), KVM_CREATE_VCPU, 0));
  const int size = ::ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (::ioctl(machine.get(), KVM_SET_USER_MEMORY_REGION, &region) != 0 || !cpu || size <= 0)
    return Errno("no processor can be created");
  auto* run = static_cast<kvm_run*>(::mmap(nullptr, static_cast<std::size_t>(size),
                                           PROT_READ | PROT_WRITE, MAP_SHARED, cpu.get(), 0));
  kvm_sregs segments{};
  if (run == MAP_FAILED || ::ioctl(cpu.get(), KVM_GET_SREGS, &segments) != 0)
    return Errno("no processor can be set up");
  segments.cs.base = 0;
  segments.cs.selector = 0;
  kvm_regs registers{};
  registers.rip = kCodeAt;
  registers.rflags = 2;
  if (::ioctl(cpu.get(), KVM_SET_SREGS, &segments) != 0 ||
      ::ioctl(cpu.get(), KVM_SET_REGS, &registers) != 0)
    return Errno("no processor can be set up");
  struct sigaction action {};
  action.sa_handler = OnDeadline;  // without SA_RESTART: KVM_RUN comes back with EINTR
  ::sigaction(SIGPROF, &action, nullptr);
  itimerval deadline{};
  deadline.it_value.tv_usec = kDeadlineMicros;
  ::setitimer(ITIMER_PROF, &deadline, nullptr);
  if (::ioctl(cpu.get(), KVM_RUN, 0) != 0)
    return errno == EINTR ? "guest code does not run at the speed of the processor"
                          : Errno("guest code does not run");
  if (run->exit_reason != KVM_EXIT_HLT) return "guest code ended in another way";
  return {};
}

}  // namespace

int RunKvmProbe() {
  const std::string why = TryGuestCode();
  (void)WriteAll(1, why.empty() ? "kvm=yes\n" : "kvm=no " + why + "\n").has_value();
  return 0;
}

}  // namespace writ::backends::microvm
