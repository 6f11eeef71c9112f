#include "support/places.h"

namespace writ::test {

std::string SourceDir() {
  return WRIT_SOURCE_DIR;
}

std::string BuildDir() {
  return WRIT_BUILD_DIR;
}

std::string BinDir() {
  return WRIT_BIN_DIR;
}

}  // namespace writ::test
