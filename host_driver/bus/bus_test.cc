#include "host_driver/bus/bus.h"

#include <gtest/gtest.h>

namespace bmcpair::bus {
namespace {

BusSpec good(std::string_view text) {
  auto spec = parse_bus_spec(text);
  EXPECT_TRUE(spec.ok()) << text << ": " << (spec.ok() ? "" : spec.error().message);
  return spec.ok() ? *spec : BusSpec{};
}

std::string bad(std::string_view text) {
  auto spec = parse_bus_spec(text);
  EXPECT_FALSE(spec.ok()) << text;
  if (spec.ok()) return "";
  EXPECT_EQ(spec.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(spec.error().message.find("qtest:SOCKET@0xe4"), std::string::npos) << "the forms are not named";
  EXPECT_EQ(spec.error().message.find('\n'), std::string::npos);
  return spec.error().message.substr(0, spec.error().message.find("; forms"));
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(BusSpec, EveryFormIsTakenApart) {
  BusSpec s = good("grpc:unix:/run/x.sock#one/bt");
  EXPECT_EQ(s.scheme, "grpc");
  EXPECT_EQ(s.target, "unix:/run/x.sock");
  EXPECT_EQ(s.path, "one/bt");
  EXPECT_FALSE(s.base);
  EXPECT_EQ(s.text, "grpc:unix:/run/x.sock#one/bt");

  s = good("in-process:configs/demo.yaml#b");
  EXPECT_EQ(s.scheme, "in-process");
  EXPECT_EQ(s.target, "configs/demo.yaml");
  EXPECT_EQ(s.path, "b");

  s = good("vfio-user:/tmp/v?spacing=4&kind=bt");
  EXPECT_EQ(s.target, "/tmp/v");
  ASSERT_EQ(s.options.size(), 2u);
  EXPECT_EQ(s.options[0], (std::pair<std::string, std::string>("spacing", "4")));
  EXPECT_EQ(s.options[1], (std::pair<std::string, std::string>("kind", "bt")));

  s = good("qtest:/tmp/q@home@0xe4?kind=bt");
  EXPECT_EQ(s.target, "/tmp/q@home");
  EXPECT_EQ(s.base, 0xe4);
  EXPECT_EQ(good("qtest:/q@3234").base, 0xca2);
}

TEST(BusSpec, ThePathMayBeLeftOut) {
  EXPECT_EQ(good("grpc:localhost:5123").path, "");
  EXPECT_EQ(good("grpc:localhost:5123#").path, "");
  EXPECT_EQ(good("grpc:localhost:5123#/bt").path, "/bt");
}

TEST(BusSpec, AnAtSignIsABaseOnlyInQtest) {
  EXPECT_EQ(good("grpc:unix-abstract:a@b#c").target, "unix-abstract:a@b");
}

TEST(BusSpec, MistakesAreNamed) {
  EXPECT_TRUE(has(bad(""), "is empty"));
  EXPECT_TRUE(has(bad("grpc"), "has no scheme"));
  EXPECT_TRUE(has(bad("GRPC:x"), "scheme 'GRPC'"));
  EXPECT_TRUE(has(bad(":x"), "scheme ''"));
  EXPECT_TRUE(has(bad("tcp:x"), "scheme 'tcp' is unknown"));
  EXPECT_TRUE(has(bad("grpc:"), "no target after 'grpc:'"));
  EXPECT_TRUE(has(bad("grpc:#a/b"), "no target"));
  EXPECT_TRUE(has(bad("grpc:x#a/b/c"), "'a/b/c' is not bmc/interface"));
  EXPECT_TRUE(has(bad("grpc:x#a#b"), "is not bmc/interface"));
  EXPECT_TRUE(has(bad("vfio-user:/x#a/b"), "there is no path"));
  EXPECT_TRUE(has(bad("qtest:/x@0xe4#a"), "there is no path"));
  EXPECT_TRUE(has(bad("qtest:/x@"), "base ''"));
  EXPECT_TRUE(has(bad("qtest:/x@0x10000"), "base '0x10000'"));
  EXPECT_TRUE(has(bad("qtest:/x@e4"), "base 'e4'"));
  EXPECT_TRUE(has(bad("qtest:@0xe4"), "no target"));
  EXPECT_TRUE(has(bad("vfio-user:/x?"), "has no value"));
  EXPECT_TRUE(has(bad("vfio-user:/x?spacing"), "has no value"));
  EXPECT_TRUE(has(bad("vfio-user:/x?spacing="), "is empty"));
  EXPECT_TRUE(has(bad("vfio-user:/x?=4"), "option name ''"));
  EXPECT_TRUE(has(bad("vfio-user:/x?a=1&a=2"), "twice"));
  EXPECT_TRUE(has(bad("vfio-user:/x?a=1&"), "has no value"));
  EXPECT_TRUE(has(bad("grpc:x?a=1#b/c"), "comes before the options"));
  EXPECT_TRUE(has(bad("grpc:x\ny"), "control character"));
  EXPECT_TRUE(has(bad(std::string(5000, 'a')), "longer than 4096"));
  std::string many = "vfio-user:/x?o0=1";
  for (int i = 1; i <= 16; ++i) many += "&o" + std::to_string(i) + "=1";
  EXPECT_TRUE(has(bad(many), "more than 16 options"));
}

TEST(BusSpecs, AListIsSplitAtCommasAndAMistakeSaysWhichEntry) {
  auto specs = parse_bus_specs("grpc:a#x,vfio-user:/v,qtest:/q@0xe4");
  ASSERT_TRUE(specs.ok());
  ASSERT_EQ(specs->size(), 3u);
  EXPECT_EQ((*specs)[2].scheme, "qtest");
  auto wrong = parse_bus_specs("grpc:a#x,,grpc:b");
  ASSERT_FALSE(wrong.ok());
  EXPECT_TRUE(has(wrong.error().message, "bus 2 of the list")) << wrong.error().message;
  EXPECT_FALSE(parse_bus_specs("").ok());
  EXPECT_FALSE(parse_bus_specs("grpc:a,").ok());
}

TEST(Buses, ASchemeCanBeAddedAndOneThatIsNotThereIsNamed) {
  auto spec = parse_bus_spec("in-process:x.yaml");
  ASSERT_TRUE(spec.ok());
  auto port = open_bus(*spec, {});
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(has(port.error().message, "this program has no bus 'in-process'")) << port.error().message;
  EXPECT_TRUE(has(port.error().message, "grpc")) << port.error().message;

  EXPECT_FALSE(parse_bus_spec("made-up:x").ok());
  register_scheme("made-up", [](const BusSpec& s, const OpenOptions& o) -> Result<std::unique_ptr<registers::RegisterPort>> {
    return Error{ErrorCode::kNotFound, s.target + " for " + o.who};
  });
  OpenOptions options;
  options.who = "me";
  auto made_up = open_bus(good("made-up:there"), options);
  ASSERT_FALSE(made_up.ok());
  EXPECT_EQ(made_up.error().message, "there for me");
}

}  // namespace
}  // namespace bmcpair::bus
