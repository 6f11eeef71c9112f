// Where the shared test data is: WRIT_SHARED_DIR, else `shared` beside the project's root.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "support/places.h"

namespace writ::test {

inline std::string SharedDir() {
  const char* set = std::getenv("WRIT_SHARED_DIR");
  return set != nullptr && *set != '\0' ? set : writ::test::SourceDir() + "/../shared";
}

// The folder of the independent implementation's vectors, part of this repository.
inline std::string PeerVectors() {
  return writ::test::SourceDir() + "/tests/golden/peer";
}

}  // namespace writ::test

// Skips this test, with the reason, where the shared test data is absent; in CI that is a failure.
#define WRIT_REQUIRE_SHARED_TESTDATA(relative)                                                   \
  do {                                                                                           \
    std::string writ_path = writ::test::SharedDir() + "/testdata/" + (relative);                 \
    if (!std::filesystem::exists(writ_path)) {                                                   \
      const char* writ_ci = std::getenv("CI");                                                   \
      if (writ_ci != nullptr && std::string(writ_ci) == "true")                                  \
        FAIL() << "missing test data " << writ_path;                                             \
      GTEST_SKIP() << "shared test data is not here: " << writ_path << " (set WRIT_SHARED_DIR)"; \
    }                                                                                            \
  } while (false)
