// The name of the socket in a runner's state directory.
#pragma once

namespace writ::runner {

inline constexpr char kAccessSocket[] = "access.sock";

}  // namespace writ::runner
