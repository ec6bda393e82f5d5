/* An intrusive doubly linked list. A node that is in no list points to itself, so that taking it out twice
   is harmless. */
#ifndef PTP_BASE_LIST_H
#define PTP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
  struct list *prev, *next;
};

static inline void list_init(struct list *list) { list->prev = list->next = list; }

static inline bool list_empty(const struct list *list) { return list->next == list; }

/* Puts |node|, which must be in no list, last. */
static inline void list_push(struct list *list, struct list *node) {
  node->prev = list->prev;
  node->next = list;
  list->prev->next = node;
  list->prev = node;
}

/* Puts |node|, which must be in no list, first. */
static inline void list_push_front(struct list *list, struct list *node) { list_push(list->next, node); }

static inline void list_remove(struct list *node) {
  node->prev->next = node->next;
  node->next->prev = node->prev;
  list_init(node);
}

/* Takes the first node out; NULL when there is none. */
static inline struct list *list_pop(struct list *list) {
  struct list *node = list->next;
  if (node == list)
    return NULL;
  list_remove(node);
  return node;
}

/* Moves all nodes of |from| to the end of |to|; |from| is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from) {
  if (list_empty(from))
    return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  list_init(from);
}

#endif
