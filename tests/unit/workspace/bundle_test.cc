#include "writ/workspace/bundle.h"

#include <gtest/gtest.h>

namespace writ::workspace {
namespace {

const std::string kId = "4d860767f99770656bf69a0bcfd96250ed47c328";
const std::string kV2 = "# v2 git bundle\n";
const std::string kV3 = "# v3 git bundle\n";

std::string CodeOf(const std::string& bytes) {
  auto header = ParseBundleHeader(bytes);
  return header ? "ok" : header.error().code;
}

TEST(BundleHeader, ReadsVersionTwoWithSeveralRefsAndPrerequisites) {
  auto header = ParseBundleHeader(kV2 + "-" + kId + " subject text\n-" + kId + "\n" + kId +
                                  " HEAD\n" + kId + " refs/heads/main\n\nPACK....");
  ASSERT_TRUE(header.has_value()) << header.error().ToString();
  EXPECT_EQ(header->version, 2);
  EXPECT_EQ(header->prerequisites.size(), 2u);
  ASSERT_EQ(header->refs.size(), 2u);
  EXPECT_EQ(header->refs[0].name, "HEAD");
  EXPECT_EQ(header->refs[1].id.Hex(), kId);
}

TEST(BundleHeader, ReadsVersionThreeWithItsObjectFormat) {
  auto header = ParseBundleHeader(kV3 + "@object-format=sha1\n" + kId + " HEAD\n\nPACK");
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->version, 3);
}

TEST(BundleHeader, RefusesEachUnfitHeaderWithACodeOfItsOwn) {
  std::string sha256(64, 'a');
  EXPECT_EQ(CodeOf(""), "bundle.not_a_bundle");
  EXPECT_EQ(CodeOf("# v4 git bundle\n"), "bundle.not_a_bundle");
  EXPECT_EQ(CodeOf(kV3 + "@object-format=sha256\n" + sha256 + " HEAD\n\nPACK"),
            "bundle.object_format");
  EXPECT_EQ(CodeOf(kV2 + sha256 + " HEAD\n\nPACK"), "bundle.object_format");
  EXPECT_EQ(CodeOf(kV3 + "@filter=blob:none\n" + kId + " HEAD\n\nPACK"), "bundle.filter");
  EXPECT_EQ(CodeOf(kV3 + "@new-thing\n" + kId + " HEAD\n\nPACK"), "bundle.capability");
  EXPECT_EQ(CodeOf(kV2 + "@filter=blob:none\n" + kId + " HEAD\n\nPACK"), "bundle.malformed");
  EXPECT_EQ(CodeOf(kV2 + "\nPACK"), "bundle.no_ref");
  EXPECT_EQ(CodeOf(kV2 + kId + " HEAD\n\n"), "bundle.no_pack");
  EXPECT_EQ(CodeOf(kV2 + kId + " HEAD\n"), "bundle.malformed");
  EXPECT_EQ(CodeOf(kV2 + kId + " HEAD\n-" + kId + "\n\nPACK"), "bundle.malformed");
  EXPECT_EQ(CodeOf(kV2 + "zz" + kId.substr(2) + " HEAD\n\nPACK"), "bundle.malformed");
  EXPECT_EQ(CodeOf(kV2 + kId + "\n\nPACK"), "bundle.malformed");
}

TEST(BundleHeader, WhatIsWrittenIsReadBack) {
  BundleHeader header;
  header.version = 3;
  header.refs.push_back({*ObjectId::FromHex(kId), "HEAD"});
  auto read = ParseBundleHeader(FormatBundleHeader(header) + "PACK");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->refs.front().id.Hex(), kId);
}

}  // namespace
}  // namespace writ::workspace
