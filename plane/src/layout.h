// Names and sizes of what stands in a plane's directory (writ/plane/init.h says what each is).
#pragma once

#include <cstddef>

namespace writ::plane {

inline constexpr std::size_t kSymmetricKeyBytes = 32;

}  // namespace writ::plane
