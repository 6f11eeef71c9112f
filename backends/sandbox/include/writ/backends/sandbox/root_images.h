// RootImages: the image that a plan's root comes from, for the tiers that can have one.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/image/image_store.h"
#include "writ/backends/job/launched_tier.h"
#include "writ/backends/sandbox/image_view.h"

namespace writ::backends {

class RootImages {
 public:
  // `dir`: of the ImageStore. `by_default`: where a plan names none; "" for none.
  RootImages(ImagePlace at, const std::string& dir, std::string by_default)
      : at_(std::move(at)), store_(dir), default_(std::move(by_default)) {}

  // The plan's, else the default; "" for none.
  const std::string& Wanted(const Plan& plan) const {
    return plan.image.empty() ? default_ : plan.image;
  }
  // kUnsupported where it is not in the store; an image whose record is damaged is an error of the
  // store.
  Result<image::ImageRecord> Find(const Plan& plan) const;
  // Keeps it and says what of it is seen, with room for `places`.
  Result<HeldRoot> Hold(const Plan& plan, const std::vector<std::string>& places) const;

 private:
  ImagePlace at_;
  image::ImageStore store_;
  std::string default_;
};

}  // namespace writ::backends
