// Tier: how far a job is kept from the host (the `isolation` words of a contract).
//
// The tiers are ordered by what they promise, but a plan names one tier and gets that one or a
// refusal: nothing here ever falls back to a weaker one (L4).
#pragma once

#include <optional>
#include <string_view>

namespace writ::backends {

enum class Tier {
  kProcess,    // a child process held by the kernel's unprivileged guards
  kSandbox,    // namespaces of its own
  kContainer,  // an OCI runtime
  kMicrovm,    // a virtual machine of its own
};

// "process", "sandbox", "container", "microvm".
std::string_view TierName(Tier tier);
// Exactly those words; nullopt for anything else (words of other planes are mapped by the
// operator).
std::optional<Tier> ParseTier(std::string_view word);

}  // namespace writ::backends
