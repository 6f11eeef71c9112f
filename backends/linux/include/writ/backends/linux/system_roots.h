// Folders of the host that a job sees without anybody having asked for them: the programs in the
// process and the sandbox tier, and /etc, whole in the process tier. Nothing private may lie there.
#pragma once

#include <array>
#include <string_view>

namespace writ::backends {

// Names in the host's root. Where /usr is merged most are links into it.
inline constexpr std::array<std::string_view, 7> kProgramRoots = {"usr",   "bin",   "sbin",  "lib",
                                                                  "lib32", "lib64", "libx32"};
inline constexpr std::string_view kSettingsRoot = "etc";

}  // namespace writ::backends
