// The documents of images: whatever is read holds what the importer relies on.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "writ/backends/image/oci_documents.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace image = writ::backends::image;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)image::ParseIndex(bytes).has_value();
  if (auto manifest = image::ParseManifest(bytes)) {
    for (const image::Descriptor& layer : manifest->layers)
      if (layer.media_type.empty()) std::abort();
  }
  (void)image::ParseImageConfig(bytes).has_value();
  if (auto docker = image::ParseDockerManifest(bytes)) {
    for (const image::DockerImage& each : *docker)
      if (each.config.empty()) std::abort();
  }
  return 0;
}
