// Capabilities: what a backend can really enforce on this host, found by trying.
//
// Each aspect says how strongly it is held, by what mechanism, and - where the answer is not
// "kernel" - why not and how to mend it. The same value feeds `writ doctor`, the check before a
// claim, and `runner.environment` of the receipt (L47: enforcement as measured).
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/limits.h"
#include "writ/backends/tier.h"

namespace writ::backends {

// Ordered: a requirement is met by the same value or a greater one.
enum class Enforcement {
  kNone,      // nothing holds it
  kAdvisory,  // a co-operating or careless job is held, a hostile one is not
  kKernel,    // the kernel (or the VM's edge) holds it against a hostile job
};
std::string_view EnforcementName(Enforcement enforcement);  // "none", "advisory", "kernel"

struct AspectCapability {
  Enforcement enforcement = Enforcement::kNone;
  std::string mechanism;  // "landlock abi 7", "seccomp user notification"; empty for kNone
  std::string reason;  // why it is not "kernel", or what "kernel" leaves open; empty where nothing
                       // is to say
  std::string mend;    // what an operator can do about `reason`; may be empty
  bool operator==(const AspectCapability&) const = default;
};

enum class Aspect { kFiles, kNetwork, kSyscalls, kResources, kProcesses };
inline constexpr std::array<Aspect, 5> kAllAspects = {
    Aspect::kFiles, Aspect::kNetwork, Aspect::kSyscalls, Aspect::kResources, Aspect::kProcesses};
std::string_view AspectName(
    Aspect aspect);  // "files", "network", "syscalls", "resources", "processes"

// How a backend mounts a WorkspaceMount, as far as whoever reads its upper layer must know.
enum class OverlayWorkspace {
  kNone,          // it cannot: only PlainWorkspace is met
  kTrustedXattr,  // by root: the kernel notes opaque folders as trusted.overlay.*
  kUserXattr,     // option userxattr (a user namespace's mount): as user.overlay.*
};

// What would hold a limit of a job here.
struct LimitCapability {
  LimitKind kind = LimitKind::kWall;
  LimitHolder holder = LimitHolder::kNone;
  bool whole_job = true;  // held for all of it, so that a contract may ask for it
  std::string note;       // what the holder leaves open; may be empty
  bool operator==(const LimitCapability&) const = default;
};

struct Capabilities {
  Tier tier = Tier::kProcess;
  std::string backend;  // registry name
  std::string version;  // of the backend and what it stands on, e.g. "writ 0.1.0, linux 6.18"

  bool usable = false;          // a job can be run at all
  std::string unusable_reason;  // one sentence where !usable
  std::string unusable_mend;

  AspectCapability files;      // what of the host's files the job can read and write
  AspectCapability network;    // that nothing but the session's proxy can be reached
  AspectCapability syscalls;   // the kernel's attack surface
  AspectCapability resources;  // memory, number of processes
  AspectCapability
      processes;  // other processes cannot be seen, signalled or traced; the tree ends whole

  std::vector<LimitCapability> limits;  // of each kind; empty: it does not tell

  bool pty = false;    // Plan::terminal can be met
  bool pause = false;  // Job::Pause and Resume
  // Whether a WorkspaceMount is met; always with redirect_dir=nofollow, metacopy=off, index=off,
  // xino=off, and the lower layer shown as the job's own (idmapped, or one id).
  OverlayWorkspace overlay_workspace = OverlayWorkspace::kNone;
  std::string
      no_overlay_reason;  // where kNone: the kernel's word, or what is missing; may be empty
  std::vector<std::string> notes;  // what this tier cannot give in principle, one sentence each

  const AspectCapability& Of(Aspect aspect) const;
  bool operator==(const Capabilities&) const = default;
};

}  // namespace writ::backends
