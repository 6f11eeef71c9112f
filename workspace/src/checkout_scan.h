// CheckoutScan: what is uncommitted in a requester's checkout, told as git would, without git.
//
// The index's stat data is trusted as git trusts it; a file that it does not vouch for is read. No
// filter is run: bytes are compared as they stand on disk.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "repository_files.h"
#include "writ/protocol/digest.h"
#include "writ/workspace/finding.h"

namespace writ::workspace {

struct CheckoutScanOptions {
  std::vector<std::string> denied_patterns{};
  std::vector<std::string> allow_untracked{};
  std::uint64_t max_diff_bytes = 0;
};

struct CheckoutState {
  std::string diff{};  // `git diff --binary --no-renames HEAD`, without denied paths
  std::size_t changed_files = 0;
  std::vector<std::string> untracked{};     // allowed, sorted, regular files
  std::vector<std::string> denied_paths{};  // seen and left out, sorted
  std::vector<Finding> findings{};
};

Result<CheckoutState> ScanCheckout(const RepositoryFiles& repository, const OdbSource& objects,
                                   const CheckoutScanOptions& options);

// True where a denied pattern matches the path or a folder on its way.
bool IsDenied(const std::vector<std::string>& patterns, std::string_view path);

// A regular file of the checkout, beneath its root, never through a link.
Result<std::string> ReadCheckoutFile(int root, const std::string& path, std::uint64_t limit);

}  // namespace writ::workspace
