#include "writ/backends/registry.h"

#include <string>
#include <utility>

namespace writ::backends {

Status BackendRegistry::Add(std::unique_ptr<Backend> backend) {
  for (const auto& known : backends_) {
    if (known->Name() == backend->Name())
      return Error{ErrorKind::kConflict, "backends.duplicate_name",
                   "two backends are registered under the name " + std::string(backend->Name())};
  }
  backends_.push_back(std::move(backend));
  return {};
}

Result<Backend*> BackendRegistry::Find(std::string_view name) const {
  std::string known;
  for (const auto& backend : backends_) {
    if (backend->Name() == name) return backend.get();
    known += (known.empty() ? "" : ", ") + std::string(backend->Name());
  }
  return Error{ErrorKind::kUnsupported, "backends.unknown_name", "there is no backend of that name",
               known.empty() ? "no backend is registered" : "known backends: " + known};
}

std::vector<Backend*> BackendRegistry::OfTier(Tier tier) const {
  std::vector<Backend*> found;
  for (const auto& backend : backends_) {
    if (backend->GetTier() == tier) found.push_back(backend.get());
  }
  return found;
}

Result<Backend*> BackendRegistry::Resolve(Tier tier) const {
  std::string reasons, mends;
  for (Backend* backend : OfTier(tier)) {
    const Capabilities& capabilities = backend->Probe();
    if (capabilities.usable) return backend;
    reasons += (reasons.empty() ? "" : "; ") + std::string(backend->Name()) + ": " +
               capabilities.unusable_reason;
    if (!capabilities.unusable_mend.empty())
      mends += (mends.empty() ? "" : "; ") + capabilities.unusable_mend;
  }
  return Error{
      ErrorKind::kUnsupported, "backends.no_backend_for_tier",
      "no backend of the tier " + std::string(TierName(tier)) +
          " is usable on this host: " + (reasons.empty() ? "none is registered" : reasons),
      mends.empty() ? "ask for another isolation, or use a pool whose runners have it" : mends};
}

std::vector<Backend*> BackendRegistry::All() const {
  std::vector<Backend*> all;
  for (const auto& backend : backends_) all.push_back(backend.get());
  return all;
}

}  // namespace writ::backends
