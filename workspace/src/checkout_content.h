// CheckoutContent: what a checkout is made of, as CheckoutCache asks for it; and the checkout of a
// base commit.
#pragma once

#include <cstdint>

#include "git_object.h"
#include "input_state.h"
#include "job_repository.h"
#include "tree_listing.h"
#include "writ/workspace/checkout_cache.h"

namespace writ::workspace {

class CheckoutContent {
 public:
  virtual ~CheckoutContent() = default;
  // Writes everything into an empty directory of ours.
  virtual Result<CheckoutFacts> Fill(int tree) = 0;
  // Compares everything with what Fill would write: kIntegrity "checkout.damaged" where it differs.
  // Reads only.
  virtual Result<CheckoutFacts> Verify(int tree) = 0;
};

struct BaseCheckoutOptions {
  const ObjectSource* objects = nullptr;  // borrowed, as all below
  ObjectId tree{};
  ObjectId history{};  // a commit whose history is checked too; zero: none
  JobRepositoryText text{};
  unsigned threads = 2;
  std::uint64_t max_files = 0;
  std::uint64_t max_tree_bytes = 0;
  std::uint64_t max_file_bytes = 0;
  std::function<void(std::uint64_t bytes)> wrote{};  // as MaterializeOptions::wrote
};

// The files of a commit's tree and a `.git` at that commit whose index tells their stat data. The
// index is judged by core.checkStat=minimal in the job's view: inode and change time hold through
// an overlay, the owner is the slot's and not ours.
class BaseCheckout final : public CheckoutContent {
 public:
  explicit BaseCheckout(BaseCheckoutOptions options) : options_(std::move(options)) {}
  Result<CheckoutFacts> Fill(int tree) override;
  Result<CheckoutFacts> Verify(int tree) override;

 private:
  Result<TreeListing> List() const;
  std::string Index(const TreeListing& listing, const std::vector<InputFile>& files) const;

  BaseCheckoutOptions options_;
};

}  // namespace writ::workspace
