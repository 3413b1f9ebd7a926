/* format.c: which envelope; see format.h. */
#include "core/render/format.h"

void format_append(struct buffer *out, const struct document *document, const struct view *view,
				   enum document_layout layout)
{
	switch (view->format) {
	case FORMAT_JSON:
		document_append_json(out, document, view, layout);
		break;
	case FORMAT_DEBEZIUM:
		format_append_debezium(out, document, view);
		break;
	case FORMAT_CLOUDEVENTS:
		format_append_cloudevent(out, document, view);
		break;
	}
}
