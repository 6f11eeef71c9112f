// A root file system from a suite of Debian, by mmdebstrap (package mmdebstrap).
//
// Packages come from where this host's apt gets its own, or from a file of apt's that the operator
// names, and are checked by apt's keys. Their maintainer scripts run as apt runs them here: as root
// in the new root where we are root, in a user namespace else. What differs between two makings -
// logs, caches, machine id, host name, the addresses of the sources - is not in the root, and all
// times are one: the same packages give the same digest.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/image/image_store.h"
#include "writ/base/result.h"

namespace writ::backends::microvm {

struct SuiteOrder {
  std::string suite;                  // "bookworm"
  std::vector<std::string> packages;  // beside the required ones: "git", "python3=3.11.2-1+b1"
  std::string sources;                // file of apt's sources; empty: the host's
};

// kInvalid "suite.name", "suite.package": what is no suite's or package's name. Pure.
Status CheckSuite(const SuiteOrder& order);

// Lines of sources.list for `suite` and its updates and security. `targets`: what `apt-get
// indextargets --format kTargetFormat` says. kNotFound "suite.unknown" where none is of the suite.
// Pure.
inline constexpr char kTargetFormat[] = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
Result<std::string> SourcesFor(std::string_view suite, std::string_view targets);

// Makes it and puts it into `store`. kNotFound "suite.mmdebstrap" with what to install;
// kUnavailable "suite.failed" with mmdebstrap's own last words.
Result<image::ImageRecord> ImportSuite(const image::ImageStore& store, const SuiteOrder& order,
                                       const std::function<void(const std::string&)>& told);

}  // namespace writ::backends::microvm
