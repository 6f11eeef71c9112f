// What an image may ask of the machine that imports it, and what was found in it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace writ::backends::image {

// Summed over all layers. An image past one of them is refused as a whole (kInvalid
// "image.too_large").
struct ImportLimits {
  std::uint64_t bytes = 32ull << 30;  // of files and of decompressed layers, sparse holes included
  std::uint64_t entries = 2'000'000;
  std::size_t layers = 256;
  std::size_t name_bytes = 4096;  // of one entry's whole name
  std::size_t depth = 256;        // components of a name
  // A layer must not grow more than this many times when it is decompressed, past the free part.
  std::uint64_t ratio = 400;
  std::uint64_t ratio_free_bytes = 64ull << 20;
  std::uint64_t document_bytes = 4ull << 20;  // index, manifest, configuration
};

// What was left out or taken away, to be told.
struct ImportFindings {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;            // of regular files
  std::uint64_t skipped_special = 0;  // device nodes, FIFOs, sockets: not made
  std::uint64_t cleared_set_id = 0;   // set-user-id and set-group-id bits
};

}  // namespace writ::backends::image
