// The ELF inside a Linux bzImage (Documentation/x86/boot.rst, protocol 2.08 and later). It boots
// faster than the bzImage and is what VMMs without a boot loader take. Pure.
#pragma once

#include <string>
#include <string_view>

#include "writ/base/result.h"

namespace writ::backends::microvm {

struct KernelImage {
  std::string elf;
  std::string release;  // "6.1.0-57-cloud-amd64", as its modules' directory is called
};

// An ELF file is taken as it is, without a release. kInvalid "microvm.kernel" for what is neither;
// kUnsupported for a payload that is not LZ4, as Debian's is.
Result<KernelImage> ReadKernel(std::string_view bytes);

}  // namespace writ::backends::microvm
