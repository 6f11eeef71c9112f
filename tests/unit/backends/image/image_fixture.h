// A store of its own and a place for images, gone with the test.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "archive_maker.h"
#include "writ/backends/image/image_store.h"

namespace writ::test {

class ImageFixture : public testing::Test {
 protected:
  ImageFixture() : ImageFixture(MakeBase()) {}
  ~ImageFixture() override { std::filesystem::remove_all(base_); }

  std::string Write(const std::string& name, const std::string& bytes) const {
    const std::string path = base_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  Result<backends::image::ImageRecord> ImportLayers(const std::vector<LayerBytes>& layers) const {
    return store_.Import(Write("image.tar", TarOf(OciFiles(layers))), options_);
  }
  // The code of the refusal; "" where there was none. Nothing may be left of a refused image.
  std::string Refusal(const std::vector<LayerBytes>& layers) const {
    auto record = ImportLayers(layers);
    if (record) return "";
    EXPECT_THAT(Entries(), testing::IsEmpty());
    return record.error().code;
  }
  std::vector<std::string> Entries() const {
    std::vector<std::string> out;
    if (std::filesystem::exists(store_.dir()))
      for (const auto& entry : std::filesystem::directory_iterator(store_.dir()))
        if (entry.path().filename() != "names") out.push_back(entry.path().filename());
    return out;
  }
  std::string Root(const backends::image::ImageRecord& record) const {
    return store_.dir() + "/sha256-" + record.id.ToHex() + "/root";
  }

  static std::string MakeBase() {
    std::string pattern = "/var/tmp/writ-image-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    return pattern;
  }
  explicit ImageFixture(const std::string& base) : base_(base), store_(base + "/images") {}

  std::string base_;
  backends::image::ImageStore store_;
  backends::image::ImportOptions options_;
};

}  // namespace writ::test
