// Kernel words that Debian 12's headers lack, each with the version that brought it. Values are the
// kernel's ABI and never change.
#pragma once

#include <cstdint>

namespace writ::backends::kernel {

// Landlock (linux/landlock.h). Absent in 6.1 headers: everything after REFER.
inline constexpr std::uint64_t kFsTruncate = 1ull << 14;  // ABI 3, 6.2
inline constexpr std::uint64_t kFsIoctlDev = 1ull << 15;  // ABI 5, 6.10
inline constexpr std::uint64_t kNetBindTcp = 1ull << 0;   // ABI 4, 6.7
inline constexpr std::uint64_t kNetConnectTcp = 1ull << 1;
inline constexpr std::uint64_t kScopeAbstractUnixSocket = 1ull << 0;  // ABI 6, 6.12
inline constexpr std::uint64_t kScopeSignal = 1ull << 1;
inline constexpr int kRuleNetPort = 2;

struct LandlockRulesetAttr {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;  // ABI 4
  std::uint64_t scoped;              // ABI 6
};
struct LandlockNetPortAttr {
  std::uint64_t allowed_access;
  std::uint64_t port;
};

// pidfd_open: a pidfd of a thread, not only of a leader (6.9). Equal to O_EXCL.
inline constexpr unsigned kPidfdThread = 0200;

// seccomp: a waiting call is woken by fatal signals only (5.19).
inline constexpr unsigned kFilterWaitKillable = 1u << 5;

// System calls by number where <sys/syscall.h> of 6.1 has no name (same on every architecture).
inline constexpr int kFirstUnknownSyscall =
    451;  // after set_mempolicy_home_node, the last one of 6.1
inline constexpr int kLastUnknownSyscall = 600;

inline constexpr int kIpProtoMptcp = 262;  // 5.6
inline constexpr int kMsgFastOpen = 0x20000000;
inline constexpr int kTcpFastOpenConnect = 30;

}  // namespace writ::backends::kernel
