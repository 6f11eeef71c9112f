// The workspace of a guest's job: the base tree beneath, what the job changes above it.
#pragma once

#include <string>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

// Mounted in this process's mount namespace, with trusted.overlay.* attributes; taken away with it.
class LayeredWorkspace {
 public:
  // `trees`: what is beneath, the highest first, never written; its owner and mode are the
  // workspace's. A device (0, 0) in one hides what the lower ones have. `scratch`: where the layers
  // are made.
  static Result<LayeredWorkspace> Mount(const std::vector<std::string>& trees,
                                        const std::string& scratch);
  LayeredWorkspace(LayeredWorkspace&& other) noexcept;
  LayeredWorkspace& operator=(LayeredWorkspace&&) = delete;
  ~LayeredWorkspace();

  const std::string& path() const { return merged_; }
  // What was changed; to be walked once nobody writes any more.
  Result<UniqueFd> OpenUpper() const;

 private:
  LayeredWorkspace(std::string merged, std::string upper)
      : merged_(std::move(merged)), upper_(std::move(upper)) {}
  std::string merged_;  // empty: moved from
  std::string upper_;
};

}  // namespace writ::backends::microvm
