// The guest image that test machines boot from, made of the host's shell and tools (test_image.h)
// and the programs of this build; once for all test programs.
#pragma once

#include <string>

namespace writ::test {

// MicrovmBackendOptions::images_dir; its image is "default". Aborts, with the reason, where none
// can be made: what it is made of are packages that the tests ask for.
std::string TestGuestImages();

}  // namespace writ::test
