// TerminalSize: how many characters a terminal shows.
#pragma once

#include <cstdint>

namespace writ {

struct TerminalSize {
  std::uint16_t rows = 24;
  std::uint16_t columns = 80;
};

}  // namespace writ
