/* Memory of pools that nobody may touch at the moment: told to AddressSanitizer where it is in the build, so that a use
   after release is found although free(3) was never called. In release builds nothing is left of it. */
#ifndef PTP_BASE_POISON_H
#define PTP_BASE_POISON_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PTP_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define PTP_ADDRESS_SANITIZER 1
#endif

/* True in builds with a sanitizer that looks after memory: it reads /proc when it has something to say. */
#if defined(PTP_ADDRESS_SANITIZER) || defined(__SANITIZE_THREAD__)
enum { MEMORY_IS_WATCHED = true };
#else
enum { MEMORY_IS_WATCHED = false };
#endif

#if defined(PTP_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
static inline void memory_poison(const void *memory, size_t len) { __asan_poison_memory_region(memory, len); }
static inline void memory_unpoison(const void *memory, size_t len) { __asan_unpoison_memory_region(memory, len); }
static inline bool memory_poisoned(const void *memory) { return __asan_address_is_poisoned(memory) != 0; }
#else
static inline void memory_poison(const void *memory, size_t len) { (void)memory, (void)len; }
static inline void memory_unpoison(const void *memory, size_t len) { (void)memory, (void)len; }
static inline bool memory_poisoned(const void *memory) { return (void)memory, false; }
#endif

#endif
