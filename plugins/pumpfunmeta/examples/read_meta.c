/* Prints the coin that frames carry: read_meta MINT [frames]
 *
 *   gcc read_meta.c -o read_meta $(pkg-config --cflags --libs gstreamer-1.0)
 */
#include <gst/gst.h>
#include <stdlib.h>

static gint left = 30;

/* Runs on a streaming thread. */
static GstPadProbeReturn
on_buffer (GstPad *pad, GstPadProbeInfo *info, gpointer pipeline)
{
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, "PumpFunCoinMeta");
  GstStructure *coin;
  const gchar *name, *symbol;
  gdouble usd;
  guint64 participants;

  if (meta == NULL || left <= 0)
    return GST_PAD_PROBE_OK;    /* nothing is known yet */
  coin = gst_custom_meta_get_structure (meta);
  /* Only what is known is there. */
  name = gst_structure_get_string (coin, "name");
  symbol = gst_structure_get_string (coin, "symbol");
  g_print ("%s (%s)", name ? name : "?", symbol ? symbol : "?");
  if (gst_structure_get_double (coin, "market-cap-usd", &usd))
    g_print (", %.2f USD", usd);
  if (gst_structure_get_uint64 (coin, "participants", &participants))
    g_print (", %" G_GUINT64_FORMAT " people", participants);
  g_print ("\n");
  if (--left == 0)
    gst_element_send_event (GST_ELEMENT (pipeline), gst_event_new_eos ());
  return GST_PAD_PROBE_OK;
}

int
main (int argc, char *argv[])
{
  GstElement *pipeline, *element;
  GstMessage *end;
  GstPad *pad;
  GError *error = NULL;
  gboolean failed;

  gst_init (&argc, &argv);
  if (argc < 2) {
    g_printerr ("say which coin: %s MINT [frames]\n", argv[0]);
    return 2;
  }
  if (argc > 2)
    left = atoi (argv[2]);
  pipeline = gst_parse_launch ("videotestsrc is-live=true ! pumpfunmeta name=meta"
      " ! videoconvert ! fakesink name=sink", &error);
  if (error != NULL) {
    g_printerr ("%s\n", error->message);
    return 1;
  }
  element = gst_bin_get_by_name (GST_BIN (pipeline), "meta");
  g_object_set (element, "mint-id", argv[1], NULL);
  gst_object_unref (element);
  element = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  pad = gst_element_get_static_pad (element, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_buffer, pipeline, NULL);
  gst_object_unref (pad);
  gst_object_unref (element);

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  end = gst_bus_timed_pop_filtered (GST_ELEMENT_BUS (pipeline), GST_CLOCK_TIME_NONE,
      GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
  failed = GST_MESSAGE_TYPE (end) == GST_MESSAGE_ERROR;
  gst_message_unref (end);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  return failed ? 1 : 0;
}
