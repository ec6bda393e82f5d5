/* Assertions that stay on in release. A broken invariant ends the process with the place, the condition and a dump of
   the objects at hand: a proxy that goes on with wrong state is worse than one that restarts. */
#ifndef PTP_BASE_MUST_H
#define PTP_BASE_MUST_H

#include <stddef.h>

/* Ends the process (SIGABRT) unless |cond| holds. Cheap conditions only: it runs in every build. */
#define must(cond) ((cond) ? (void)0 : must_fail(#cond, __FILE__, __LINE__, __func__))

/* For a place that cannot be reached; |why| is the proof in words. */
#define must_never(why) must_fail("never: " why, __FILE__, __LINE__, __func__)

/* Cold: what leads here is kept apart from the code that runs. */
_Noreturn void must_fail(const char *condition, const char *file, int line, const char *function) __attribute__((cold));

/* What this thread adds to a crash: |dump| is called with |object| by must_fail and writes to stderr with write(2)
   only. One per thread; NULL takes it away. |object| is borrowed until then. */
typedef void must_dump_f(const void *object);
void must_set_dump(must_dump_f *dump, const void *object);

/* The object that contains |member| at address |ptr|. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
