// The image that container tests run in: the host's shell, the tools that the suites use, and the
// libraries of those and of this build's programs.
#pragma once

#include <string>

namespace writ::test {

// An image store with an image of the name "host", and one, "gvisor", with the ls and stat of
// busybox. Made once: in the build folder where that can be
// written, else for this process alone and gone with it. $WRIT_TEST_IMAGES names one that is there.
std::string TestImages();

}  // namespace writ::test
