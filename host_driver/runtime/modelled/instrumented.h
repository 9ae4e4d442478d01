// Whether this build is AddressSanitizer's, as either compiler says it.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define BMCPAIR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BMCPAIR_ASAN 1
#endif
#endif
#ifndef BMCPAIR_ASAN
#define BMCPAIR_ASAN 0
#endif
